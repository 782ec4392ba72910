"""The report of a real training says what its log says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from photographs import CLASSES, data_set

from . import watched


def test_the_report_says_what_the_log_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = data_set(tmp_path / "data", {"train": 12, "valid": 4, "test": 4})
    job = watched.job(tmp_path / "ml", data)
    job = replace(job, channels={**job.channels, "test": data / "test"})
    report = watched.run(job)
    log = capsys.readouterr().out

    told = re.findall(r"^epoch (\d+)/2: train:loss=(\S+) valid:loss=(\S+) valid:accuracy=(\S+) \((\d+) images/s, "
                      r"(\S+) s\)$", log, re.M)  # fmt: skip
    assert [
        (str(e["number"]), *(f"{e[name]:.5g}" for name in ("train_loss", "valid_loss", "valid_accuracy")),
         f"{e['images_per_s']:.0f}", f"{e['seconds']:.1f}")
        for e in report["epochs"]
    ] == told and len(told) == 2  # fmt: skip
    kept = re.search(r"^kept epoch (\d+) of 2: .*valid:accuracy=(\S+)$", log, re.M)
    test = re.search(r"^test: test:loss=(\S+) test:accuracy=(\S+) top5=", log, re.M)
    assert kept and test
    assert (str(report["kept_epoch"]), f"{report['metrics']['valid:accuracy']:.5g}") == kept.groups()
    assert tuple(f"{report['metrics'][f'test:{name}']:.5g}" for name in ("loss", "accuracy")) == test.groups()
    assert set(re.findall(r"^finding: (\w+) ", log, re.M)) == {f["rule"] for f in report["findings"] if f["fired"]}

    # 36 photographs in batches of 8, twice; and the network was judged on the split that the log names.
    (rank,) = report["ranks"]
    assert rank["steps"]["number"] == list(range(1, 11)) and sum(rank["steps"]["images"]) == 72
    assert report["judged_split"] == "test" and report["classes"] == list(CLASSES)
    matrix = report["confusion"]
    right = sum(matrix[i][i] for i in range(3))
    assert [sum(row) for row in matrix] == [4, 4, 4]
    assert right / 12 == pytest.approx(report["metrics"]["test:accuracy"])
    assert [c["recall"] for c in report["per_class"]] == [matrix[i][i] / 4 for i in range(3)]
    # Each mistake with its photograph, the surest first.
    mistakes = report["mistakes"]
    assert len(mistakes) == 12 - right
    assert [m["probability"] for m in mistakes] == sorted((m["probability"] for m in mistakes), reverse=True)
    for mistake in mistakes:
        assert mistake["picture"].startswith("data:image/jpeg;base64,") and mistake["called"] != mistake["label"]
        assert (data / "test" / mistake["photograph"]).parent.name == mistake["label"]
        assert (data / "test" / mistake["photograph"]).is_file()

    # Where the time went: the parts make the whole, and evaluation is what the epochs' spans say.
    time = report["time"]
    assert sum(seconds for part, seconds in time.items() if part != "total") == pytest.approx(time["total"], abs=1e-3)
    assert time["total"] == pytest.approx(report["ended"] - report["began"], abs=1e-3)
    spans = dict.fromkeys(rank["spans"]["name"], 0.0)
    for name, seconds in zip(rank["spans"]["name"], rank["spans"]["seconds"], strict=True):
        spans[name] += seconds
    assert time["evaluation"] == pytest.approx(spans["evaluation"], abs=1e-3)

    html = (job.output_dir / "report.html").read_text()
    accuracy = f"{report['metrics']['test:accuracy']:.4g}"
    assert f"test:accuracy={accuracy}." in html and f"<b>{accuracy}</b>" in html
    assert html.count("<figure") >= len(mistakes) + 3
