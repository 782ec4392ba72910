# make demo: the main job on this machine.  make test: the tests.  Both set everything up first.
PYTHON ?= python3
BIN := .venv/bin
IMAGE ?= kennel:test
# One process runs all tests of a module, so that they share its servers. WORKERS=0 runs all in this one.
WORKERS ?= auto
SPREAD := -n $(WORKERS) --dist loadscope --no-loadscope-reorder

.PHONY: demo notebook test coverage mutation lint image test-image venv docs site lock lock-cpu lock-peers size clean help

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 14

venv:  ## the virtual environment, from the lock; nothing when it is up to date
	@$(PYTHON) requirements/bootstrap.py

demo: venv  ## generate data, tune, train profiled, deploy, predict, clean up: all on this machine
	@$(BIN)/python orchestrate/pipeline.py --local --source synthetic --per-class 140 --image-size 64 \
		--weights none --freeze-backbone false --trials 4 --seed 1 --yes

notebook: venv  ## run examples/train_and_deploy.ipynb on this machine, and write it back with what its cells showed
	@$(BIN)/python examples/run.py

test: venv  ## every test that needs no container engine
	@$(BIN)/python -m pytest -m "not engine" -rsfE $(SPREAD)

lint: venv site  ## style, types, layers, the links of the documentation
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports && \
		$(BIN)/cfn-lint infra/template.yaml

image:  ## build the image as $(IMAGE); WEIGHTS=DIR takes the pretrained weights from there instead of the network
	docker build -f docker/Dockerfile -t $(IMAGE) $(if $(WEIGHTS),--build-context weights=$(WEIGHTS)) .

test-image: venv  ## the tests that need a container engine, against $(IMAGE)
	@$(BIN)/python -m pytest -m engine --image $(IMAGE) -rsfE

docs: venv  ## write from the code the pages that come from it: hyperparameters, rules, operations, architecture
	@$(BIN)/python container_src/classifier/config.py >docs/hyperparameters.md
	@$(BIN)/python container_src/classifier/rule_settings.py >docs/rules.md
	@$(BIN)/python -m local_sagemaker.coverage >docs/11-local-sagemaker-operations.md
	@$(BIN)/python docs/architecture.py

site: venv  ## the documentation as a site, in build/site
	@rm -rf build/pages && mkdir -p build/pages/benchmarks build/pages/examples
	@cp examples/train_and_deploy.ipynb build/pages/examples/
	@cp -r README.md CONTRIBUTING.md CHANGELOG.md docs build/pages/ && cp -r benchmarks/results build/pages/benchmarks/ && rm build/pages/docs/*.py
	@$(BIN)/zensical build --strict -f mkdocs.yml

coverage: venv  ## which lines and branches the tests run that need no container engine; lines in build/coverage
	@$(BIN)/python -m pytest -m "not engine and not slow" $(SPREAD) --cov --cov-report=html --cov-report=term:skip-covered

mutation: venv  ## which faults the tests of the contracts' modules do not notice (half an hour; MODULE="images payload")
	@nice -n 10 $(BIN)/python benchmarks/mutation.py $(MODULE)

screenshots: site  ## every page that the project makes, wide and narrow, light and dark, in build/screenshots
	@$(BIN)/python docs/screenshots.py

lock: venv  ## refresh requirements.lock from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.10 --generate-hashes --upgrade \
		--override requirements/overrides.txt --no-emit-index-url --no-header -o requirements/requirements.lock

lock-cpu: venv  ## refresh requirements/cpu.lock: the CPU build's torch, from PyTorch's own index
	grep -oE '"(torch|torchvision)==[^"]+' pyproject.toml | tr -d '"' | \
		$(BIN)/uv pip compile - --no-deps --universal --python-version 3.10 --generate-hashes --torch-backend cpu \
		--no-header --no-annotate -o requirements/cpu.lock

lock-peers: venv  ## refresh the lock of what benchmarks/serving.py compares with
	$(BIN)/uv pip compile benchmarks/serving_peers/peers.in --universal --python-version 3.10 --generate-hashes --upgrade \
		--no-emit-index-url --no-header -o benchmarks/serving_peers/peers.lock

size: venv  ## what $(IMAGE) weighs, part by part, unpacked and compressed
	@$(BIN)/python docker/size.py $(IMAGE)

clean:  ## remove what runs and tests left here; the environment stays
	rm -rf runs examples/runs build .pytest_cache .mypy_cache .ruff_cache *.egg-info
