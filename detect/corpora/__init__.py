"""One reader per known layout of a dataset on disk -> Catalog.

    made = import_corpus(Path("FaceForensics++"), Path("ff"))   # importing.py: the whole way on one page <- START HERE
    made.file                                                   # ff/catalog.jsonl, which train and evaluate read

`known.py` lists the layouts, `entry.py` says what a reader tells, `splitting.py` keeps people out of two splits.

What a sample knows beyond the fields of `media.catalog.Sample` is in `extra`, under these keys:

- `corpus` name of the layout it was read from.
- `people` everybody who can be seen, heard or was copied from: the face, the body, the driver, the voice.
- `original` id of the real sample that a synthetic one was made from.
- `masks` path of its truth masks: a video, or a folder of pictures.
- `segments` synthetic parts, `[[first second, last second], ...]`; `segments_picture` and `segments_sound` apart.
- `voice` real or synthetic, where the publisher tells; `speech` what is said or heard, by name.
- `driver` the recording that moves the face.
- `frames` number of pictures; a sample whose path is a folder is a film that was stored as pictures.
- `method`, `level`, `gender`, `race`, `kind` in the publisher's own words.

Names of people, sources and drivers begin with the collection that knows them (`ff++/033`, `voxceleb2/id00017`): the
same person has the same name in every corpus that was made from that collection.
"""
