"""Files that the C2PA library reads and writes without a detour through Python.

    with file_stream(source) as reading, file_stream(target) as writing:
        manifest = sign_streams(builder, mime, reading, writing)
    with open_reader(mime, source, context) as reader: ...

The library copies a file in blocks of 8 KiB and calls Python for each: 50,000 calls for a clip of 200 MB, a third of
the time of a signing. Its stream callbacks have the very signatures of POSIX `read`, `write` and `lseek`, so those are
handed over instead, with the file's number as their context. Where that cannot be (Windows, 32 bits, what is no file),
the library's own streams over Python objects are used; they do the same, slower.

This module reaches into the C2PA library's private parts, which is why the library is pinned exactly (rule 1 of
`provenance.credential`), and why `tests/provenance/test_signing.py` signs through both ways.
"""

from __future__ import annotations

import ctypes
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

CAN_BE_NATIVE: Final = os.name == "posix" and sys.maxsize > 1 << 32
"""Whether file numbers and offsets fit the callbacks' arguments on this system."""


@contextmanager
def file_stream(file: BinaryIO, *, native: bool = CAN_BE_NATIVE) -> Iterator[Any]:
    """A stream of the C2PA library over an open file, from its beginning.

    Args:
        file: opened for reading, or for reading and writing.
        native: whether to go around Python.
    """
    from c2pa.c2pa import Stream

    with _from_the_beginning(file):
        stream = Stream(file)
        if native:
            _go_around_python(stream, file.fileno())
        try:
            yield stream
        finally:
            stream.close()


def sign_streams(builder: Any, mime: str, reading: Any, writing: Any) -> bytes:
    """Sign from one stream into another, by the signer of the builder's context; the manifest."""
    manifest: bytes = builder._sign_internal(mime, reading, writing)
    return manifest


def reserved_box(builder: Any, mime: str) -> bytes:
    """The box that will hold the manifest, of its full size; the builder's context must have a signer."""
    return _told_bytes(builder, "c2pa_builder_placeholder", mime)


def hash_content(builder: Any, mime: str, stream: Any) -> None:
    """Let the manifest be bound to a file that holds the reserved box already."""
    from c2pa import c2pa as library

    ask = library._lib.c2pa_builder_update_hash_from_stream
    ask.argtypes = [ctypes.POINTER(library.C2paBuilder), ctypes.c_char_p, ctypes.POINTER(library.C2paStream)]
    ask.restype = ctypes.c_int
    with builder._exclusive_native_call():
        status = ask(builder._handle, mime.encode(), stream._stream)
        library._check_ffi_operation_result(status, "the file cannot be hashed", check=lambda given: given < 0)


def signed_box(builder: Any, mime: str) -> bytes:
    """The box with the signed manifest, as large as the reserved one."""
    return _told_bytes(builder, "c2pa_builder_sign_embeddable", mime)


def _told_bytes(builder: Any, name: str, mime: str) -> bytes:
    """Call a function of the library that Python's side of it does not offer, and that gives bytes."""
    from c2pa import c2pa as library

    given = ctypes.POINTER(ctypes.c_ubyte)()
    ask = getattr(library._lib, name)
    ask.argtypes = [ctypes.POINTER(library.C2paBuilder), ctypes.c_char_p, ctypes.POINTER(type(given))]
    ask.restype = ctypes.c_int64
    # The context keeps the signer, and what it may call, alive.
    with builder._exclusive_native_call(), library._context_guard(builder._context):
        size = ask(builder._handle, mime.encode(), ctypes.byref(given))
        library._check_ffi_operation_result(size, "it gave no manifest", check=lambda given: given < 0)
    try:
        return ctypes.string_at(given, size)
    finally:
        library._lib.c2pa_free(given)


@contextmanager
def open_reader(mime: str, file: BinaryIO, context: Any) -> Iterator[Any]:
    """The C2PA library's Reader of an open file, or of bytes."""
    import c2pa

    if not CAN_BE_NATIVE or isinstance(file, io.BytesIO):
        file.seek(0)
        with c2pa.Reader(mime, file, context=context) as reader:
            yield reader
        return

    class FileReader(c2pa.Reader):  # type: ignore[misc]
        """A Reader whose stream is replaced between its making and its first use."""

        def _create_and_activate(self, *words: Any, **named: Any) -> Any:
            _go_around_python(self._own_stream, file.fileno())
            return super()._create_and_activate(*words, **named)

    with _from_the_beginning(file), FileReader(mime, file, context=context) as reader:
        yield reader


@contextmanager
def _from_the_beginning(file: BinaryIO) -> Iterator[None]:
    """Let the file be read from its beginning, and put its position back: Python's buffer must not lose its place."""
    file.flush()
    place = os.lseek(file.fileno(), 0, os.SEEK_CUR)
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    try:
        yield
    finally:
        os.lseek(file.fileno(), place, os.SEEK_SET)


def _go_around_python(stream: Any, number: int) -> None:
    """Give a stream the system's own functions over a file's number; how it is closed stays as it was."""
    from c2pa import c2pa as library

    system = ctypes.CDLL(None)
    library._lib.c2pa_release_stream(stream._stream)
    stream._read_cb = ctypes.cast(system.read, library.ReadCallback)
    stream._seek_cb = ctypes.cast(system.lseek, library.SeekCallback)
    stream._write_cb = ctypes.cast(system.write, library.WriteCallback)
    # Nothing waits in a buffer, so there is nothing to flush; who needs it on the disk calls fsync.
    stream._flush_cb = library.FlushCallback(lambda context: 0)
    context = ctypes.cast(number, ctypes.POINTER(library.StreamContext))
    stream._stream = library._lib.c2pa_create_stream(
        context, stream._read_cb, stream._seek_cb, stream._write_cb, stream._flush_cb
    )
