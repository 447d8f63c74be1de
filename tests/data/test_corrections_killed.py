import os

import pytest

from training.benchmarks import kill

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    # Other tests may have left threads; the child touches none of them.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def test_killed_at_any_moment(tmp_path):
    seed = int(os.environ.get("KILL_SEED", "7"))
    outcomes = kill.run(16, tmp_path, seed=seed, rounds=8)
    assert len(outcomes) == 16
    # Otherwise the kills came too early to say anything.
    assert sum(each.returned for each in outcomes) > 0
    assert any(each.cut_short for each in outcomes)


def test_the_command_prints_its_count(tmp_path, capsys):
    kill.main(["--kills", "2", "--folder", str(tmp_path)])
    assert capsys.readouterr().out.startswith("2 kills, ")
    assert list(tmp_path.iterdir()) == []
