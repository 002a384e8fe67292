"""The pages: worklist, cases, and the state of the system; served by a process of its own.

`routes` lists every page with the role that it takes, `site` builds the
application from that list, `gate` lets in, and each `show_` or `do_` module
holds the pages of one subject. Patients are named on signed-in pages only,
read from the archived files; no log and no row of the audit trail names one.
"""
