"""What is put into a build container; some of it the hub uses too. The README says more."""
