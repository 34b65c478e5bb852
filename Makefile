# CI runs the same targets as people do.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
# How many rounds a benchmark makes over all systems. More rounds even out a machine whose speed drifts.
ROUNDS ?= 1
TEXT ?= The cat sat on the mat.
LANGUAGES ?= en-pt
# What `make explore` opens: a folder, or --model minilm; by default Firefox's translator.
MODEL ?=
export TF_CPP_MIN_LOG_LEVEL ?= 2
# Hides mkdocs-material's notice about a coming major version.
export NO_MKDOCS_2_WARNING := 1

.PHONY: browser demo gpt translate explore notebooks test test-all lint types unit coverage backends without-tensorflow docstrings docs soak properties package audit vulnerabilities licenses bench bench-decoding experiments tpu-check constraints clean

## Train an English-French translator on real sentences (about a quarter of an hour on 2 cores).
demo: $(VENV)/demo.stamp
	$(RUN) examples/train_translator.py --output runs/translator

## Train a small GPT on WikiText-2.
gpt: $(VENV)/demo.stamp
	$(RUN) examples/train_gpt.py --output runs/gpt

## Translate with Firefox's weights: make translate TEXT="Good morning." LANGUAGES=pt-en
translate: export TEXT := $(TEXT)
translate: $(VENV)/demo.stamp
	@$(RUN) examples/translate_pretrained.py --languages $(LANGUAGES) "$$TEXT"

## Look inside a model, on a local page: make explore MODEL=runs/translator
explore: $(VENV)/explorer.stamp
	@$(RUN) -m keras_transformer.explorer $(MODEL)

## Notebooks made from the examples, in build/notebooks: make notebooks LIBRARY=dist/name.whl
# What they install: a name on PyPI, or the path or URL of a wheel.
LIBRARY ?= keras-transformer-layers
notebooks: $(VENV)/all.stamp
	$(RUN) docs/notebooks.py --output build/notebooks --library '$(LIBRARY)'

# Tests with many cases run one case out of this many.
SAMPLE ?= 16

## Lint, types, the suite on TensorFlow (which builds the docs), the tests of every backend on JAX and torch.
test:
	$(MAKE) --jobs 2 $(VENV)/all.stamp browser
	$(MAKE) lint types unit backends without-tensorflow docstrings

## The same with every case of every test (more than an hour).
test-all:
	$(MAKE) test SAMPLE=1 QUICK_XLA= ON_TORCH=

lint: $(VENV)/all.stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/all.stamp
	$(VENV)/bin/mypy

# Chromium for tests/explorer/browser, from the system's packages if there is none.
BROWSERS := chromium chromium-browser google-chrome
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
browser:
	@for name in $(BROWSERS); do command -v $$name > /dev/null && exit 0; done; \
	$(SUDO) apt-get update -qq && $(SUDO) apt-get install -qq -y --no-install-recommends chromium fonts-ipafont-gothic

# Two test processes, each with one thread: more threads than cores make torch crawl.
unit coverage backends without-tensorflow docstrings properties: export OMP_NUM_THREADS := 1

unit: $(VENV)/all.stamp browser
	KERAS_BACKEND=tensorflow $(RUN) -m pytest -q -n 2 --dist worksteal --sample $(SAMPLE) --durations 15 \
	  $(addprefix --ignore=,$(ON_TORCH))

## The suite on TensorFlow, with a table of the lines it missed. One folder: make coverage TESTS=tests/ops
coverage: $(VENV)/all.stamp browser
	KERAS_BACKEND=tensorflow $(RUN) -m pytest -q -n 2 --dist worksteal --cov=keras_transformer $(TESTS)

# Tests that run on every backend: laws, parity, layers (with saving), pipelines, and those of robustness
# that depend on the backend. The others pass there too: KERAS_BACKEND=jax .venv/bin/python -m pytest
# tests/decoding.
EVERYWHERE := tests/laws tests/parity tests/layers tests/pipelines tests/benchmarks \
  $(addprefix tests/robustness/test_,threads.py memory.py kills.py determinism.py)
# Tests of what depends least on the backend run on torch, which takes half the time. `make test-all` runs
# them on TensorFlow.
ON_TORCH := $(addprefix tests/,data datasets explorer files pretrained visualize)
# JAX compiles thousands of programs that run once. Without optimization, this takes a quarter less
# time. `make test-all` optimizes, as users do.
QUICK_XLA ?= --xla_backend_optimization_level=0

backends: $(VENV)/all.stamp browser
	XLA_FLAGS=$(QUICK_XLA) KERAS_BACKEND=jax $(RUN) -m pytest -q -n 2 --dist worksteal --sample $(SAMPLE) $(EVERYWHERE)
	KERAS_BACKEND=torch $(RUN) -m pytest -q -n 2 --dist worksteal --sample $(SAMPLE) $(EVERYWHERE) $(ON_TORCH)

without-tensorflow: $(VENV)/all.stamp
	BLOCK_TENSORFLOW=1 KERAS_BACKEND=jax $(RUN) -m pytest -q tests/without_tensorflow
	BLOCK_TENSORFLOW=1 KERAS_BACKEND=torch $(RUN) -m pytest -q tests/without_tensorflow

# All examples of all docstrings: a minute on torch, which has nothing to trace or compile. `unit` runs
# a sample of them on TensorFlow.
docstrings: $(VENV)/all.stamp
	KERAS_BACKEND=torch $(RUN) -m pytest -q -n 2 --dist worksteal tests/test_house.py::test_docstring_examples_run

docs: $(VENV)/all.stamp
	$(VENV)/bin/mkdocs build --strict --quiet

## What must hold under load, in long runs (less than half an hour on 2 cores): threads, memory, texts.
soak: export OMP_NUM_THREADS := 1
soak: $(VENV)/all.stamp
	for backend in tensorflow jax torch; do \
	  KERAS_BACKEND=$$backend $(RUN) -m tests.robustness.soak --only threads --requests 300 && \
	  KERAS_BACKEND=$$backend $(RUN) -m tests.robustness.soak --only memory --requests 1000 && \
	  KERAS_BACKEND=$$backend $(RUN) -m tests.robustness.soak --only training --minutes 2 || exit 1; \
	done
	KERAS_BACKEND=torch $(RUN) -m tests.robustness.soak --only texts

## The laws on random configurations of models: make properties CONFIGURATIONS=100 BACKENDS=torch SEED=7
# Takes more than an hour per backend. `make test` checks ten on TensorFlow.
CONFIGURATIONS ?= 500
BACKENDS ?= torch jax tensorflow
SEED := $(or $(SEED),$(shell date +%s))
properties: $(VENV)/all.stamp
	for backend in $(BACKENDS); do \
	  KERAS_BACKEND=$$backend $(RUN) -m pytest tests/robustness/properties -n 2 \
	    --configurations $(CONFIGURATIONS) --hypothesis-seed $(SEED) || exit; \
	done

## Builds wheel and sdist, installs them into empty environments with one backend, and uses them there.
PYTHONS ?= python3.11 python3.12 python3.13 python3.14
BACKEND ?= torch
package: $(VENV)/all.stamp
	$(RUN) -m tests.robustness.empty_environments --backend $(BACKEND) $(PYTHONS)

## Known vulnerabilities of the versions in constraints.txt, and the licenses of all installed packages.
audit: vulnerabilities licenses

# Asks the package index's advisory service; without one (some mirrors have none) it fails.
vulnerabilities: $(VENV)/audit.stamp
	$(VENV)/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict \
	  --progress-spinner off

licenses: $(VENV)/all.stamp
	$(RUN) -m tests.robustness.licenses

## Decoding speed against KerasHub, Hugging Face and CTranslate2 (rewrites its part of docs/benchmarks.md).
bench-decoding: $(VENV)/all.stamp
	$(RUN) benchmarks/decoding.py --rounds $(ROUNDS) --write docs/benchmarks.md

## A training step, a language model and a translator against others, memory (rewrites docs/benchmarks.md).
## Takes three quarters of an hour on an otherwise idle machine.
bench: $(VENV)/all.stamp browser
	$(RUN) benchmarks/import_time.py --write docs/benchmarks.md
	$(RUN) benchmarks/training_step.py --rounds $(ROUNDS) --write docs/benchmarks.md
	$(RUN) benchmarks/step_parts.py --write docs/benchmarks.md
	$(RUN) benchmarks/attention.py --write docs/benchmarks.md
	$(RUN) benchmarks/chunked_loss.py --write docs/benchmarks.md
	$(RUN) benchmarks/language_model.py --write docs/benchmarks.md
	$(RUN) benchmarks/rematerialization.py --write docs/benchmarks.md
	$(RUN) benchmarks/translation.py --write docs/benchmarks.md
	$(RUN) benchmarks/explorer_page.py --write docs/benchmarks.md

## Compiles training and decoding for TPU slices, without a TPU (rewrites its part of
## docs/many-devices.md). Many hours; it can be interrupted. Some rows: make tpu-check ONLY=v5e-8
ONLY ?=
tpu-check: export TPU_LIBRARY_PATH ?= $(VENV)/tpu/libtpu/libtpu.so
tpu-check: $(VENV)/tpu.stamp
	$(RUN) benchmarks/tpu_check.py $(if $(ONLY),--only "$(ONLY)") --write docs/many-devices.md

## The tables and figures of the guides (two hours).
PAGE := docs/from-recurrence-to-attention.md
experiments: $(VENV)/all.stamp
	$(RUN) examples/piece_by_piece.py --output docs/images
	$(RUN) examples/reverse_digits.py --output runs/reverse-digits
	$(RUN) benchmarks/page.py docs/piece-by-piece.md "digits backwards" runs/reverse-digits "python examples/reverse_digits.py"
	$(RUN) examples/why_it_works.py --output runs/why-it-works
	$(RUN) benchmarks/page.py docs/why-it-works.md depth runs/why-it-works "python examples/why_it_works.py"
	$(RUN) examples/temperature.py --output runs/temperature
	$(RUN) benchmarks/page.py docs/why-it-works.md temperature runs/temperature "python examples/temperature.py"
	$(RUN) benchmarks/recurrence.py --write $(PAGE)
	$(RUN) examples/long_range.py --output runs/long-range
	$(RUN) benchmarks/page.py $(PAGE) "long range" runs/long-range "python examples/long_range.py"
	$(RUN) examples/word2vec.py --output runs/word2vec
	$(RUN) benchmarks/page.py $(PAGE) word2vec runs/word2vec "python examples/word2vec.py"
	$(RUN) examples/compare_vectors.py --output runs/compare-vectors
	$(RUN) benchmarks/page.py docs/why-it-works.md vectors runs/compare-vectors "python examples/compare_vectors.py"
	$(RUN) benchmarks/ablation.py positions --write $(PAGE)
	$(RUN) benchmarks/ablation.py regularization --write $(PAGE)
	$(RUN) examples/pretrain_bert.py --output runs/bert
	$(RUN) benchmarks/page.py $(PAGE) bert runs/bert "python examples/pretrain_bert.py"
	$(RUN) examples/train_vit.py --output runs/vit
	$(RUN) benchmarks/page.py $(PAGE) digits runs/vit "python examples/train_vit.py"
	$(RUN) examples/forecast_seismogram.py --output runs/seismogram
	$(RUN) benchmarks/page.py $(PAGE) seismogram runs/seismogram "python examples/forecast_seismogram.py"
	$(RUN) examples/finetune_bert.py --output runs/finetune-bert
	$(RUN) benchmarks/page.py docs/fine-tuning.md "few examples" runs/finetune-bert "python examples/finetune_bert.py"
	rm -rf runs/sentence-encoder
	$(RUN) examples/finetune_sentence_encoder.py --output runs/sentence-encoder
	$(RUN) benchmarks/page.py docs/fine-tuning.md paraphrases runs/sentence-encoder "python examples/finetune_sentence_encoder.py"
	$(RUN) examples/finetune_llm.py --output runs/llm
	$(RUN) benchmarks/page.py docs/fine-tuning.md "chat model" runs/llm "python examples/finetune_llm.py"
	rm -rf runs/adapted
	$(RUN) examples/adapt_translator.py --mix 0 --output runs/adapted/new --table runs/adapted/tables.md
	$(RUN) examples/adapt_translator.py --output runs/adapted/mixed --table runs/adapted/tables.md
	$(RUN) examples/adapt_translator.py --lora 16 --output runs/adapted/lora --table runs/adapted/tables.md
	$(RUN) benchmarks/page.py docs/fine-tuning.md "adapted translator" runs/adapted "python examples/adapt_translator.py  # and with --mix 0 or --lora 16"
	$(RUN) examples/distill_translator.py --output runs/distilled
	$(RUN) benchmarks/page.py docs/train-a-translator.md distilled runs/distilled "python examples/distill_translator.py"
	$(RUN) examples/look_inside.py --output runs/look-inside
	$(RUN) benchmarks/page.py docs/look-inside.md it runs/look-inside "python examples/look_inside.py"

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[tensorflow,text,weights]'
	touch $@

$(VENV)/explorer.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing the library, TensorFlow and the server: a few minutes, once."
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[tensorflow,text,weights,explorer]'
	touch $@ $(VENV)/demo.stamp

$(VENV)/all.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[all]'
	touch $@ $(VENV)/demo.stamp $(VENV)/explorer.stamp

# Separate from the environment that it audits.
$(VENV)/audit.stamp: | $(VENV)/bin/python
	$(RUN) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet 'pip-audit>=2.10'
	touch $@

# XLA's compiler for TPUs: a library in a folder of its own, of the version that JAX names.
$(VENV)/tpu.stamp: benchmarks/tpu_library.py $(VENV)/all.stamp
	$(RUN) -m pip install --quiet --no-deps --upgrade --target $(VENV)/tpu "$$($(RUN) benchmarks/tpu_library.py)"
	touch $@

## Rewrite constraints.txt from the versions installed in the virtual environment.
# Without suffixes such as `+cpu`, because the package index has no such versions.
constraints:
	$(RUN) -m pip freeze --exclude-editable > constraints.new
	{ echo '# The exact versions that CI installs; CONTRIBUTING.md says when to renew them.'; \
	  sed 's/+[a-z0-9.]*$$//' constraints.new; } > constraints.txt
	rm constraints.new

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage
