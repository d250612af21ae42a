"""Cut-out instruments rendered from meshes."""
