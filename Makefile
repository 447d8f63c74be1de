# make demo    set everything up and segment the sample scan in a window (without a screen: a screenshot)
# make test    set everything up and run every check and test
# Needs Python 3.11 or newer, git and make; system libraries are installed where that is allowed, named where it isn't.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Elsewhere than on Linux there is always one.
SCREEN = $(DISPLAY)$(WAYLAND_DISPLAY)$(filter-out Linux,$(shell uname))
WINDOW = xvfb-run -a -s "-screen 0 1600x1000x24"
# What Qt and OpenGL want of the system, and a virtual screen.
SYSTEM = xvfb xauth libegl1 libgl1 libglx-mesa0 libgl1-mesa-dri libopengl0 libxkbcommon-x11-0 libdbus-1-3 libfontconfig1 \
	libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 \
	libxcb-xinerama0 libxcb-xkb1

.PHONY: demo test pyside6 pyqt6 lint system clean

demo: $(VENV)/.app system
	$(BIN)/napari-unet-seg demo $(if $(SCREEN),,--screenshot demo.png)

test: $(VENV)/.test system lint
	QT_API=pyside6 $(WINDOW) $(BIN)/python -m pytest --numprocesses 2 --ignore tests/widgets
	$(MAKE) --jobs 2 pyside6 pyqt6

# The window's tests, at a time with either binding; each on a screen of its own, since windows fight for the focus.
pyside6:
	QT_API=pyside6 $(WINDOW) $(BIN)/python -m pytest tests/widgets

pyqt6:
	PYTEST_QT_API=pyqt6 QT_API=pyqt6 $(WINDOW) -n 199 $(BIN)/python -m pytest tests/widgets -q > $(VENV)/pyqt6.log 2>&1 \
		|| { cat $(VENV)/pyqt6.log; exit 1; }
	@tail -n 3 $(VENV)/pyqt6.log

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/npe2 validate napari_unet_seg

system:
	@sh .ci/system-libraries "$(SYSTEM)"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.app: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[app]"
	@touch $@

$(VENV)/.test: $(VENV)/.app
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[app,test,training,deeplab]" PyQt6
	@touch $@

clean:
	rm -rf $(VENV) demo.png .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
