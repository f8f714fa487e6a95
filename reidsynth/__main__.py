"""Run the command line as `python -m reidsynth`."""

from reidsynth.cli import app

app(prog_name="reidsynth")
