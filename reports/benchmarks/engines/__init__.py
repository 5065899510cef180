"""How many trials a minute a Dask cluster runs, against the local pool of as many workers."""
