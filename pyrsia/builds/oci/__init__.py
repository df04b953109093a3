"""The oci plug-in: container images composed from files by our own packer; no container engine, no program run.

plugin      the six verbs, and what a request says
lock        the files and base that an image is made of
dockerfile  the part of the Dockerfile language that needs no program to run
compose     files, base and settings -> layers, configuration, manifest, index
layer       reading a layer, its canonical form (`oci-layer@1`), its members
documents   the JSON documents of an image, in one form
worker      what runs inside the sandbox
"""
