"""Signing with keys in a real PKCS#11 token: SoftHSM, which keeps to the standard and to a folder."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from provenance import tokens
from provenance.claims import Claim, SourceType
from provenance.credential import ProvenanceError, Standing, read_credential
from provenance.identity import _certify, create_identity
from provenance.signatures import sign_bytes, signature_holds
from provenance.signing import sign_file
from provenance.tokens import TokenAddress, TokenKey, token_identity
from provenance.trust import TrustAnchors

PIN = "4711"
CAPTURE = Claim(source_type=SourceType.DIGITAL_CAPTURE)
KEYS: dict[str, Callable[[], Any]] = {
    "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ps256": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}
LIBRARIES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a token that holds one key of each kind, its chains, its root, and the PIN in a file."""
    if importlib.util.find_spec("pkcs11") is None:
        pytest.skip("python-pkcs11 is not installed: pip install 'countermark[token]'")
    if shutil.which("softhsm2-util") is None or not any(Path(one).is_file() for one in LIBRARIES):
        pytest.skip("SoftHSM is not installed: apt-get install softhsm2")
    folder = tmp_path_factory.mktemp("token")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n")
    # The library reads this once in a process, when it is loaded.
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    softhsm("--init-token", "--free", "--label", "newsroom", "--so-pin", "0815", "--pin", PIN)
    (folder / "pin").write_text(f"{PIN}\n")
    create_identity(folder / "authority")
    issuer = x509.load_pem_x509_certificate((folder / "authority" / "issuer.pem").read_bytes())
    issuer_key = load_pem_private_key((folder / "authority" / "issuer.key").read_bytes(), None)
    for number, (name, make) in enumerate(KEYS.items(), 1):
        key = make()
        plain = folder / f"{name}.key"
        plain.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        words = ("--import", str(plain), "--token", "newsroom", "--label", name, "--id", f"0{number}", "--pin", PIN)
        softhsm(*words)
        plain.unlink()
        leaf = _certify(f"signer {name}", key, issuer, issuer_key, days=30, depth=None)  # type: ignore[arg-type]
        chain = leaf.public_bytes(Encoding.PEM) + issuer.public_bytes(Encoding.PEM)
        (folder / f"{name}.pem").write_bytes(chain)
    return folder


def softhsm(*words: str) -> None:
    done = subprocess.run(["softhsm2-util", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def address(token: Path, key: str, *, pin: str | None = None) -> str:
    library = next(one for one in LIBRARIES if Path(one).is_file())
    return f"pkcs11:token=newsroom;object={key}?module-path={library}&pin-source={pin or token / 'pin'}"


@pytest.mark.parametrize("algorithm", list(KEYS))
def test_a_key_in_a_token_signs_media_and_bytes(
    algorithm: str, token: Path, originals: dict[str, Path], tmp_path: Path
) -> None:
    identity = token_identity(address(token, algorithm), token / f"{algorithm}.pem")
    assert (identity.algorithm, identity.key_pem) == (algorithm, None)
    trust = TrustAnchors.default([token / "authority" / "root.pem"])
    claim = Claim(source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA)
    credential = sign_file(originals["clip.mp4"], tmp_path / "a.mp4", claim, identity=identity, trust=trust)
    assert credential.standing is Standing.TRUSTED
    assert credential.certificate is not None
    assert credential.certificate.algorithm == algorithm
    signature = sign_bytes(identity, b"a statement")
    assert signature_holds(identity.certificates()[0].public_key(), signature, b"a statement")


def test_keys_in_a_token_sign_from_the_command_line_and_in_several_processes(
    token: Path, originals: dict[str, Path], tmp_path: Path
) -> None:
    words = ["--chain", str(token / "es256.pem"), "--key", address(token, "es256"), "--no-store"]
    kind = ["--source-type", "digitalCapture"]
    files = [str(originals[f"clip.{ending}"]) for ending in ("png", "jpg", "wav")]
    # In a process of its own: a server of workers that another test started knows nothing of this token.
    command = [sys.executable, "-m", "provenance", "sign", *files, "-o", str(tmp_path / "out"), *kind, *words]
    done = subprocess.run([*command, "--workers", "2"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    trust = TrustAnchors.default([token / "authority" / "root.pem"])
    for path in (tmp_path / "out").iterdir():
        assert read_credential(path, trust=trust).standing is Standing.TRUSTED


def test_a_token_that_is_there_a_moment_later_is_used_and_a_wrong_pin_tried_once(
    token: Path, originals: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pkcs11

    tried: list[str] = []
    opened = TokenKey._opened

    def late(key: TokenKey, module: object, library: object) -> object:
        tried.append("opened")
        if len(tried) < 3:
            raise pkcs11.exceptions.GeneralError if len(tried) == 1 else pkcs11.exceptions.NoSuchToken
        return opened(key, module, library)

    monkeypatch.setattr(TokenKey, "_opened", late)
    monkeypatch.setattr(tokens, "_PAUSES", (0.0, 0.0))
    identity = token_identity(address(token, "es256"), token / "es256.pem")
    trust = TrustAnchors.default([token / "authority" / "root.pem"])
    credential = sign_file(originals["clip.png"], tmp_path / "a.png", CAPTURE, identity=identity, trust=trust)
    assert credential.standing is Standing.TRUSTED
    assert len(tried) == 3

    def wrong(key: TokenKey, module: object, library: object) -> object:
        tried.append("wrong")
        raise pkcs11.exceptions.PinIncorrect

    monkeypatch.setattr(TokenKey, "_opened", wrong)
    identity = token_identity(address(token, "es256"), token / "es256.pem")
    with pytest.raises(ProvenanceError, match="did not sign"):
        sign_file(originals["clip.png"], tmp_path / "b.png", CAPTURE, identity=identity)
    assert tried.count("wrong") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": "nobody"}, "the token newsroom did not sign"),
        ({"pin": "{folder}/missing"}, "cannot read"),
        ({"token": "elsewhere"}, "the token elsewhere did not sign"),
        ({"library": "/usr/lib/none.so"}, r"the token newsroom did not sign: .*/usr/lib/none\.so"),
    ],
)
def test_what_is_wrong_with_a_token_is_one_line_and_leaves_nothing(
    change: dict[str, str], words: str, token: Path, originals: dict[str, Path], tmp_path: Path
) -> None:
    where = address(token, change.get("key", "es256"), pin=change.get("pin", str(token / "pin")).format(folder=token))
    where = where.replace("token=newsroom", f"token={change.get('token', 'newsroom')}")
    if "library" in change:
        where = where[: where.index("module-path=")] + f"module-path={change['library']}"
    identity = token_identity(where, token / "es256.pem")
    with pytest.raises(ProvenanceError, match=words) as caught:
        sign_file(
            originals["clip.png"], tmp_path / "a.png", Claim(source_type=SourceType.DIGITAL_CAPTURE), identity=identity
        )
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_wrong_pin_is_one_line(token: Path, originals: dict[str, Path], tmp_path: Path) -> None:
    (token / "wrong").write_text("0000")
    signer = ["--chain", str(token / "es256.pem"), "--key", address(token, "es256", pin=str(token / "wrong"))]
    # In a process of its own: in this one somebody has logged in already.
    command = [sys.executable, "-m", "provenance", "sign", str(originals["clip.png"]), "-o", str(tmp_path / "a.png")]
    words = [*command, "--source-type", "digitalCapture", "--no-store", *signer]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "error: the token newsroom did not sign: PinIncorrect\n")


def test_addresses_are_read_as_the_standard_says() -> None:
    text = "pkcs11:token=My%20token;object=k;id=%01%ff?module-path=/lib/a.so&pin-source=file:/run/pin"
    read = TokenAddress.parse(text)
    assert read == TokenAddress(Path("/lib/a.so"), "My token", None, "k", b"\x01\xff", Path("/run/pin"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pkcs11:object=k?module-path=/a.so", "names no token"),
        ("pkcs11:token=t?module-path=/a.so", "names no key"),
        ("pkcs11:token=t;object=k", "names no library"),
        ("pkcs11:token=t;object=k?module-path=/a.so&pin-value=1234", "every user would see"),
        ("pkcs11:token=t;objekt=k?module-path=/a.so", "objekt is not known"),
    ],
)
def test_addresses_that_cannot_be_used_are_refused_without_telling_a_pin(text: str, words: str) -> None:
    with pytest.raises(ProvenanceError, match=words) as caught:
        TokenAddress.parse(text)
    assert "1234" not in str(caught.value)
