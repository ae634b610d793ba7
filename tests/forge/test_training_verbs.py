import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forge.cli import app
from forge.motion.listening import AUDIO_FEATURES
from forge.motion.sequences import MotionSequence
from forge.portrait import ForgeError
from forge.training import Training, known_recipes, train_by_recipe

run = CliRunner()


def one_line(result, code: int = 1) -> str:
    assert result.exit_code == code, result.output
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1 and not result.stdout, result.output
    return lines[0]


def test_every_family_of_networks_has_recipes_and_each_says_what_it_is_for():
    recipes = known_recipes()
    assert {family for family, _ in recipes.values()} == {"face", "student", "render_net", "motion"}
    assert {"face_tiny", "face_256", "face_512", "face_cpu", "motion_cpu", "render_net"} <= set(recipes)
    assert all(about for _, about in recipes.values())


def test_recipes_are_listed_as_json_lines():
    result = run.invoke(app, ["train-recipes"])
    assert result.exit_code == 0
    assert {json.loads(line)["recipe"] for line in result.stdout.splitlines()} == set(known_recipes())


def test_an_unknown_recipe_is_one_line_with_the_known_ones(tmp_path):
    said = one_line(run.invoke(app, ["train", "face_9000", "-o", str(tmp_path / "run")]))
    assert "face_256" in said and "face_9000" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("recipe", "option"),
    [("face_tiny", ["--held", "x"]), ("motion_tiny", ["--workers", "3"]), ("face_cpu", ["--render-net", "x"])],
)
def test_an_option_that_has_no_effect_is_refused(tmp_path, recipe, option):
    said = one_line(run.invoke(app, ["train", recipe, "-o", str(tmp_path / "run"), *option]))
    assert option[0] in said and "no effect" in said


@pytest.mark.parametrize("recipe", ["face_cpu", "motion_cpu"])
def test_networks_that_cannot_film_their_own_material_ask_for_it(tmp_path, recipe):
    assert "--data" in one_line(run.invoke(app, ["train", recipe, "-o", str(tmp_path / "run")]))


def test_the_verb_trains_the_motion_network(tmp_path):
    import numpy as np

    from forge.motion.features import NAMES

    (tmp_path / "data").mkdir()
    for number in range(3):
        motion = np.random.default_rng(number).random((40, len(NAMES))).astype(np.float32)
        audio = np.zeros((40, AUDIO_FEATURES), np.float32)
        sequence = MotionSequence(f"s{number}", "spoken", f"speaker {number}", "xx", "none", motion, audio, {})
        sequence.save(tmp_path / "data" / f"{number}.npz")
    arguments = ["train", "motion_tiny", "-o", str(tmp_path / "run"), "--data", str(tmp_path / "data")]
    result = run.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["recipe"] == "motion_tiny" and Path(facts["weights"]).is_file()


def test_a_folder_without_material_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    said = one_line(
        run.invoke(app, ["train", "motion_tiny", "-o", str(tmp_path / "run"), "--data", str(tmp_path / "empty")])
    )
    assert "empty" in said


def test_recordings_need_consent_and_a_licence(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"nothing")
    said = one_line(run.invoke(app, ["prepare", str(tmp_path / "videos"), "-o", str(tmp_path / "out")]))
    assert "consent" in said.lower()
    assert not (tmp_path / "out").exists()


def test_people_of_photos_need_a_table(tmp_path):
    (tmp_path / "pictures").mkdir()
    said = one_line(run.invoke(app, ["studio-people", str(tmp_path / "pictures"), "-o", str(tmp_path / "out")]))
    assert "people.csv" in said


def test_a_studio_without_people_is_refused(tmp_path):
    assert "people" in one_line(run.invoke(app, ["studio", str(tmp_path / "out"), "--people", "0"]))


def test_train_by_recipe_refuses_what_the_verb_refuses(tmp_path):
    with pytest.raises(ForgeError, match="recipe must be one of"):
        train_by_recipe(Training("nothing", tmp_path))
