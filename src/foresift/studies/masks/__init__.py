"""Studies where labels are masks: whole images or patches, and small defects."""
