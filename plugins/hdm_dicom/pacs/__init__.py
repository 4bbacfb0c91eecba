"""What speaks to a PACS: addresses, connections and credentials, DICOMweb and DIMSE."""
