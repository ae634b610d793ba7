"""The page in a real browser, with the shipped detector behind it: what a person sees, step by step."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from media.catalog import Catalog, Label, Sample

pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright to test the page in a browser")
pytest.importorskip("fastapi")

ASSETS = Path(__file__).parents[2] / "countermark" / "demo_assets"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 120_000  # ms: a busy machine needs long for its first file


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed clip of a portrait of nobody, a copy that was changed, and one whose credential was stripped."""
    from countermark.attacks import flip_one_bit, reencode
    from forge.animate import animate_to_file
    from forge.methods import Shot
    from forge.portrait import Declaration

    folder = tmp_path_factory.mktemp("material")
    speech = ASSETS / "my_papers_tell.flac"
    animate_to_file(
        ASSETS / "bo.webp", speech, folder / "bo.mp4", declaration=Declaration.nonexistent(), shot=Shot(size=256)
    )
    flip_one_bit(folder / "bo.mp4", folder / "changed.mp4")
    reencode(folder / "bo.mp4", folder / "reposted.mp4")
    chained(folder)
    dataset = folder / "dataset"
    dataset.mkdir()
    samples = []
    for name, label in (("bo.mp4", Label.SYNTHETIC), ("reposted.mp4", Label.REAL)):
        shutil.copy(folder / name, dataset / name)
        samples.append(
            Sample(name, name, label, hashlib.sha256((dataset / name).read_bytes()).hexdigest(), person="bo")
        )
    Catalog(samples, "two clips").save(dataset)
    (folder / "text.mp4").write_text("no video at all")
    (folder / "large.mp4").write_bytes(bytes(3 << 20))
    return folder


def chained(folder: Path) -> None:
    """A picture made from two others, signed as other programs do it: with thumbnails of what it was made from."""
    import c2pa
    from PIL import Image

    from provenance.claims import SourceType
    from provenance.identity import create_identity

    identity = create_identity(folder / "stranger")
    parts = []
    for name in ("ada", "cy", "bo"):
        parts.append(folder / f"{name}.png")
        Image.open(ASSETS / f"{name}.webp").convert("RGB").save(parts[-1])
    made = {"action": "c2pa.created", "digitalSourceType": SourceType.DIGITAL_CREATION.uri}
    manifest = {
        "claim_generator_info": [{"name": "another program", "version": "1"}],
        "title": "collage.png",
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [made]}}],
    }
    with c2pa.Context.from_dict({"version": 1, "builder": {"thumbnail": {"enabled": True}}}) as context:
        builder = c2pa.Builder(json.dumps(manifest), context)
        for part in parts[1:]:
            with part.open("rb") as stream:
                builder.add_ingredient({"title": part.name, "relationship": "componentOf"}, "image/png", stream)
        signer = c2pa.Signer.from_info(
            c2pa.C2paSignerInfo(identity.algorithm.encode(), identity.chain_pem.encode(), identity.key_pem, None)
        )
        with parts[0].open("rb") as reading, (folder / "collage.png").open("w+b") as writing:
            builder.sign(signer, "image/png", reading, writing)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, material: Path) -> Iterator[str]:
    """A server of its own, and no upload left when it ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary = tmp_path_factory.mktemp("temporary")
    command = [sys.executable, "-m", "countermark", "serve", "--port", str(port), "--max-upload-mb", "2"]
    server = subprocess.Popen(
        [*command, "--catalog", str(material / "dataset")], env={**os.environ, "TMPDIR": str(temporary)}
    )
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.2)
    yield f"http://127.0.0.1:{port}/"
    # a tab that was closed on the verdict leaves its evidence to be gathered to the end
    for _ in range(600):
        uploads = [p for p in temporary.glob("countermark-serve-*/run-*/*") if p.name != "lock"]
        if not uploads:
            break
        time.sleep(0.2)
    server.send_signal(signal.SIGTERM)
    assert server.wait(30) in (0, -signal.SIGTERM)
    assert uploads == []
    assert list(temporary.glob("countermark-serve-*/run-*")) == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        one = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A fresh tab; a request to anywhere else, an error in a script or a refusal by the content policy fails."""
    tab = browser.new_page()
    wrong: list[str] = []
    tab.on("request", lambda r: None if r.url.startswith((address, "blob:", "data:")) else wrong.append(r.url))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda m: wrong.append(m.text) if "Content Security Policy" in m.text else None)
    tab.set_default_timeout(PATIENCE)
    tab.goto(address)
    yield tab
    tab.close()
    assert wrong == []


def test_a_signed_clip_is_shown_with_its_faces_its_curve_and_its_chain(page: Any, material: Path) -> None:
    page.set_input_files("#check-drop input", material / "bo.mp4")
    page.wait_for_selector(".progress >> text=Look at its faces")
    page.wait_for_selector("#headline")
    assert page.inner_text("#headline") == "Declared synthetic"
    assert page.locator(".line").count() == 3
    assert "portrait" in page.inner_text(".chain") and "speech" in page.inner_text(".chain")
    assert "Not checked" in page.inner_text(".report")
    page.click("text=Jump to the most suspicious second")
    assert float(page.get_attribute(".timeline", "aria-valuenow")) >= 0
    page.wait_for_selector("button:not([disabled]) >> text=Save as HTML")
    page.wait_for_selector(".closeup .heat img")
    assert page.locator(".closeup .strip img").count() == 1
    assert "red spoke for" in page.inner_text(".closeup .heat figcaption")
    page.click("text=Show this moment")
    with page.expect_download() as kept:
        page.click("text=Save as HTML")
    assert "Declared synthetic" in Path(kept.value.path()).read_text(encoding="utf-8")
    with page.expect_download() as kept:
        page.click("text=Save as JSON")
    assert '"schema": "countermark.check/1"' in Path(kept.value.path()).read_text(encoding="utf-8")


def test_the_api_answers_what_the_command_prints(address: str, material: Path) -> None:
    def asked(command: list[str]) -> dict[str, Any]:
        return dict(json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout))

    clip = material / "reposted.mp4"
    printed = asked([sys.executable, "-m", "countermark", "detect", "check", str(clip), "--json"])
    # redirected to the job where the machine is busy: the same report, later
    with urllib.request.urlopen(upload(address, clip)) as answer:
        while answer.status == 202:
            time.sleep(0.5)
            answer = urllib.request.urlopen(address.rstrip("/") + answer.headers["location"])
        answered = json.load(answer)
    assert printed.pop("file") == str(clip) and answered.pop("file") == clip.name
    for report in (printed, answered):
        del report["core_seconds"], report["credential"]["file"]
    assert answered.keys() == printed.keys()
    assert answered["probability"] == pytest.approx(printed["probability"], abs=1e-3)
    assert (answered["finding"], answered["credential"]) == (printed["finding"], printed["credential"])


def upload(address: str, path: Path) -> urllib.request.Request:
    """A multipart request as a plain program sends it."""
    head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'.encode()
    headers = {"content-type": "multipart/form-data; boundary=x"}
    return urllib.request.Request(address + "api/check", head + path.read_bytes() + b"\r\n--x--\r\n", headers)


def test_a_changed_clip_is_broken(page: Any, material: Path) -> None:
    page.set_input_files("#check-drop input", material / "changed.mp4")
    page.wait_for_selector("#headline")
    assert page.inner_text("#headline") == "Credential broken"
    assert "what it says, not what is so" in page.inner_text(".report")


def test_a_file_that_is_no_video_is_one_plain_line_and_the_page_goes_on(page: Any, material: Path) -> None:
    page.set_input_files("#check-drop input", material / "text.mp4")
    page.wait_for_selector("[role=alert]")
    assert "text.mp4 could not be checked" in page.inner_text("[role=alert]")
    assert page.is_visible("#check-drop label") and "Traceback" not in page.inner_text("body")


def test_a_file_over_the_limit_is_told_before_it_is_sent(page: Any, material: Path) -> None:
    page.set_input_files("#check-drop input", material / "large.mp4")
    page.wait_for_selector("[role=alert] >> text=too large")


def test_a_check_can_be_cancelled(page: Any, material: Path) -> None:
    page.set_input_files("#check-drop input", material / "bo.mp4")
    page.click(".progress >> text=Cancel")
    page.wait_for_selector("#live >> text=Cancelled", state="attached")
    assert page.is_visible("#check-drop label")


def test_two_tabs_at_once_each_get_their_own_answer(page: Any, browser: Any, address: str, material: Path) -> None:
    other = browser.new_page()
    other.goto(address)
    page.set_input_files("#check-drop input", material / "bo.mp4")
    other.set_input_files("#check-drop input", material / "changed.mp4")
    for tab, words in ((page, "Declared synthetic"), (other, "Credential broken")):
        tab.wait_for_selector("#headline", timeout=PATIENCE)
        assert tab.inner_text("#headline") == words
    other.close()


def test_two_files_are_compared(page: Any, material: Path) -> None:
    page.click("nav >> text=Compare")
    page.set_input_files("#compare-a input", material / "bo.mp4")
    page.set_input_files("#compare-b input", material / "reposted.mp4")
    page.wait_for_selector("#compare-result table")
    assert "differ in their bytes" in page.inner_text("#compare-result")


def test_many_files_fill_a_table(page: Any, material: Path) -> None:
    page.click("nav >> text=Many files")
    page.set_input_files("#batch-drop input >> nth=0", [ASSETS / "ada.webp", ASSETS / "cy.webp", material / "text.mp4"])
    page.wait_for_selector("text=3 of 3 checked")
    assert page.locator("#batch-table tbody tr").count() == 3


def test_a_clip_is_forged_with_live_progress_and_can_be_checked(page: Any) -> None:
    page.click("nav >> text=Forge")
    page.click("text=Make the clip")
    page.wait_for_selector("[role=alert] >> text=Choose a portrait")
    page.set_input_files("#forge-portrait", ASSETS / "ada.webp")
    page.set_input_files("#forge-speech", ASSETS / "belongs_to_nobody.flac")
    page.check("text=It shows nobody")
    page.select_option("#forge-size", "256")
    page.click("text=Make the clip")
    page.wait_for_selector("#forge-result >> text=Filming")
    page.wait_for_selector("#made")
    page.click("#made >> text=Check it")
    page.wait_for_selector("#headline >> text=Declared synthetic")


def test_the_page_can_be_used_with_the_keyboard_alone(page: Any, material: Path) -> None:
    page.keyboard.press("Tab")
    assert page.inner_text(":focus") == "Skip to the content"
    page.set_input_files("#check-drop input", material / "bo.mp4")
    page.wait_for_selector("#headline")
    assert page.get_attribute(":focus", "id") == "headline"
    page.focus(".timeline")
    page.keyboard.press("End")
    assert page.get_attribute(".timeline", "aria-valuetext")


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out_sideways(page: Any, material: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.set_input_files("#check-drop input", ASSETS / "ada.webp")
    page.wait_for_selector("#headline")
    boxes = [one.bounding_box() for one in page.query_selector_all("main *:visible")]
    assert max(box["x"] + box["width"] for box in boxes if box) <= width + 1


def test_the_chain_shows_pictures_of_what_a_file_was_made_from(page: Any, material: Path) -> None:
    page.set_input_files("#check-drop input", material / "collage.png")
    page.wait_for_selector(".chain li li:nth-child(2) .thumb img")
    page.wait_for_selector("button:not([disabled]) >> text=Save as HTML")
    shown = page.eval_on_selector_all(".chain .thumb img", "all => all.map(one => one.complete && one.naturalWidth)")
    # the file's own is the poster, those below it come out of its credential
    assert len(shown) == 3 and min(shown) > 50 and max(shown[1:]) <= 160
    assert [page.locator(".chain .title").nth(n).inner_text() for n in range(3)] == ["collage.png", "cy.png", "bo.png"]


def test_the_clips_of_a_dataset_are_found_played_and_checked(page: Any) -> None:
    page.click("nav >> text=Dataset")
    page.wait_for_selector("text=1 to 2 of 2")
    assert "1 real" in page.inner_text("#catalog-lead")
    page.select_option("#catalog-label", "synthetic")
    page.wait_for_selector("text=1 to 1 of 1")
    page.fill("#catalog-search", "nobody of that name")
    page.wait_for_selector("text=No clip fits")
    page.fill("#catalog-search", "")
    page.wait_for_selector("text=1 to 1 of 1")
    page.click(".clip >> text=Check")
    page.wait_for_selector("#headline >> text=Declared synthetic")


def faults(tab: Any) -> list[str]:
    """What axe finds wrong with what a tab shows now."""
    axe = pytest.importorskip("axe_playwright_python", reason="pip install axe-playwright-python to look for faults")
    tab.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    run = "axe.run(document).then(r => r.violations.map(v => `${v.impact} ${v.id}: ${v.nodes[0].html}`))"
    return list(tab.evaluate(run))


@pytest.fixture(params=[("light", 1280), ("dark", 390)], ids=["light", "dark and narrow"])
def still(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    """A tab in which nothing fades in: a colour on its way has less contrast than the one that stays."""
    scheme, width = request.param
    size = {"width": width, "height": 900}
    tab = browser.new_context(color_scheme=scheme, reduced_motion="reduce", viewport=size).new_page()
    tab.set_default_timeout(PATIENCE)
    tab.goto(address)
    yield tab
    tab.close()


def test_axe_finds_no_fault_of_accessibility_in_the_views(still: Any, address: str, material: Path) -> None:
    for view in ("batch", "compare", "forge", "catalog", "check"):
        still.goto(f"{address}#{view}")
        still.wait_for_selector(f"#view-{view}:visible .button")
        assert faults(still) == [], view
    still.set_input_files("#check-drop input", material / "bo.mp4")
    still.wait_for_selector(".progress")
    assert faults(still) == [], "while it works"
    still.wait_for_selector("#headline")
    assert faults(still) == []
    still.wait_for_selector("button:not([disabled]) >> text=Save as HTML")
    assert faults(still) == [], "with its evidence"


def test_axe_finds_no_fault_of_accessibility_in_what_comes_after(still: Any, address: str, material: Path) -> None:
    still.set_input_files("#check-drop input", material / "text.mp4")
    still.wait_for_selector("[role=alert]")
    assert faults(still) == [], "an error"
    still.click("nav >> text=Many files")
    still.set_input_files("#batch-drop input >> nth=0", [ASSETS / "ada.webp", material / "text.mp4"])
    still.wait_for_selector("#batch-table >> text=waiting")
    assert faults(still) == [], "a table that fills"
    still.wait_for_selector("text=2 of 2 checked")
    assert faults(still) == [], "a filled table"
    still.click("nav >> text=Compare")
    still.set_input_files("#compare-a input", material / "bo.mp4")
    still.set_input_files("#compare-b input", material / "reposted.mp4")
    still.wait_for_selector("#compare-result table")
    assert faults(still) == [], "two files compared"
