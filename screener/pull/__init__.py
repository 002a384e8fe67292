"""The night list: past studies are found in a PACS and fetched from it, a few at a time, in a window of the night."""
