from countermark.setup_check import library_problem, opencv_problem


def test_two_versions_of_cv2_are_one_clear_line() -> None:
    installed = {"opencv-python": "5.0.0.93", "opencv-contrib-python": "4.12.0.88"}
    problem = opencv_problem(installed.get)
    assert problem is not None
    assert "opencv-contrib-python 4.12.0.88" in problem and "opencv-python 5.0.0.93" in problem
    assert "\n" not in problem


def test_one_version_of_cv2_in_two_distributions_is_fine() -> None:
    assert opencv_problem({"opencv-python": "5.0.0.93", "opencv-contrib-python": "5.0.0.93"}.get) is None


def test_this_environment_has_one_version_of_cv2() -> None:
    assert opencv_problem() is None


def test_missing_system_libraries_name_their_packages() -> None:
    problem = library_problem(lambda name: name != "libEGL.so.1")
    assert problem is not None and problem.endswith("apt-get install libegl1")


def test_nothing_is_said_when_all_libraries_load() -> None:
    assert library_problem(lambda name: True) is None
