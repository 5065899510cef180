"""What a trial is: planned, evaluated out of fold, chosen from and blended."""
