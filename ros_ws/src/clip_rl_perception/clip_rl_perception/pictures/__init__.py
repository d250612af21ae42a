"""The bytes of messages and of files to pixels: encodings, formats, damage."""
