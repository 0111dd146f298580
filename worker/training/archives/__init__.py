"""Uploaded archives: zip, and tar plain or compressed by gzip, bzip2 or xz, unpacked by readers of our own.

Whoever sends an archive is not trusted, and other readers are known to disagree about what an archive holds. Here it
must say everything in one way only: what two readers could understand differently is refused, and so is all that is
neither a regular file nor a folder. One refusal refuses the whole archive, and nothing of it stays.
"""
