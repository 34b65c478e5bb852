"""Readers for untrusted files, and writers that complete a file or folder or leave it unchanged.

Every loader of the library uses the readers: they accept regular files inside the folder that the
user names, check sizes and headers before anything is allocated, execute nothing, and raise a
ValueError that names the file. Every `save` uses the writers: the previous files stay in place
until the new ones are complete, even if the process is killed or the disk is full.
"""

from keras_transformer.files.array_archives import ArrayArchive, ArrayHeader, open_arrays
from keras_transformer.files.file_errors import naming_file
from keras_transformer.files.hdf5_files import datasets_of
from keras_transformer.files.json_files import parse_json, read_json
from keras_transformer.files.keras_archives import check_keras_archive, load_keras_model
from keras_transformer.files.parameter_limits import parameter_limit
from keras_transformer.files.regular_files import (
    file_in,
    folder_in,
    is_listed,
    open_file,
    read_bytes,
    read_text,
    regular_file,
)
from keras_transformer.files.whole_file import whole_file
from keras_transformer.files.whole_folder import (
    is_empty,
    path_in,
    saved_name,
    update_folder,
    write_new_folder,
)
from keras_transformer.files.yaml_texts import parse_yaml
from keras_transformer.files.zip_archives import open_archive, read_entry

__all__ = [
    "ArrayArchive",
    "ArrayHeader",
    "check_keras_archive",
    "datasets_of",
    "file_in",
    "folder_in",
    "is_empty",
    "is_listed",
    "load_keras_model",
    "naming_file",
    "open_archive",
    "open_arrays",
    "open_file",
    "parameter_limit",
    "parse_json",
    "parse_yaml",
    "path_in",
    "read_bytes",
    "read_entry",
    "read_json",
    "read_text",
    "regular_file",
    "saved_name",
    "update_folder",
    "whole_file",
    "write_new_folder",
]
