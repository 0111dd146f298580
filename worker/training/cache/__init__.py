"""The decoded images of data sets, kept on a worker's disk so that a file is decoded once and not in every epoch.

    DIR/sets/<content hash>-<channels>-<reductions>/    an entry: never changed once it has this name
        entry.json              sizes of the files, SHA-256 of the index; readers hold a shared lock on it
        index.safetensors       one row for each image: name, label, size, where its pixels are and their checksum
        pixels-00000.bin        uint8, H x W x C, one image behind the other, about 64 MiB a file
    DIR/sets/.<name>.lock       held by the one process that builds; says how far it is
    DIR/sets/.<name>.partial/   what it has built so far
    DIR/folders/<hash>.json     which content a folder had when its files had these names, sizes and times, and which of
                                its files were refused: an entry is shared by folders that refuse different ones

An entry is keyed by content, so a data set is decoded once for all jobs, wherever it lies. Every lock is `flock`: a
process that is killed lets go of what it held. Pixels are read with `pread`, not mapped: the kernel's page cache shares
them between jobs either way, but they never count as memory of the process, and a file that is cut off or cannot be
read is an error that is dealt with, where a mapped one would kill the process.
"""
