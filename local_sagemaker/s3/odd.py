"""Objects whose keys cannot be paths below their bucket: `.meta/BUCKET/odd/DIGEST` beside `DIGEST.key`, which names it.

The keys are in memory too, because listings ask for them.
"""

from __future__ import annotations

from pathlib import Path

from local_sagemaker.s3.keys import digest


class OddKeys:
    """Those of every bucket. For the holder of the store's lock."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._keys: dict[str, set[str]] = {}

    def has(self, bucket: str, key: str) -> bool:
        return key in self._of(bucket)

    def below(self, bucket: str, prefix: str) -> list[str]:
        """The odd keys that begin with a prefix."""
        return [key for key in self._of(bucket) if key.startswith(prefix)]

    def path(self, bucket: str, key: str) -> Path:
        """Where the object is."""
        return self._directory(bucket) / digest(key)

    def add(self, bucket: str, key: str) -> Path:
        """Where a new object is to be put; until it is there, the key's file alone means nothing."""
        path = self.path(bucket, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".key").write_text(key)
        self._of(bucket).add(key)
        return path

    def remove(self, bucket: str, key: str) -> None:
        """After the object is gone."""
        self._of(bucket).discard(key)
        self.path(bucket, key).with_suffix(".key").unlink(missing_ok=True)

    def forget(self, bucket: str) -> None:
        self._keys.pop(bucket, None)

    def _of(self, bucket: str) -> set[str]:
        if bucket not in self._keys:
            names = self._directory(bucket).glob("*.key")
            self._keys[bucket] = {path.read_text() for path in names if path.with_suffix("").is_file()}
        return self._keys[bucket]

    def _directory(self, bucket: str) -> Path:
        return self._root / ".meta" / bucket / "odd"
