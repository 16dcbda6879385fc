"""Methods of synthesis, one problem and one entry function each."""
