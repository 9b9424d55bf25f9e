"""The only room that writes pgSTAC, and so knows its write side.

`catalog` keeps collections, `rows` turns items into what `COPY` takes, `partitions` makes room for them, and `bulk`
brings them in.
"""
