"""The embedded profile's adapters: folder store, loopback file server, local keys, clock, no CDN.

One host, standard library and `cryptography` only. Not for production: `doctor` says so.
"""
