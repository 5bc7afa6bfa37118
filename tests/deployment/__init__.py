"""`make deploy-test`: the images are built, and `deploy/compose.yaml` runs with them and is called."""
