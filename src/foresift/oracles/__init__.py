"""Who answers with labels: the truth of a study, files in a folder, people at a page, a labeling server."""
