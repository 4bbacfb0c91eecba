"""Few-shot segmentation of whole image archives: HDMNet over GeoTIFF scenes and DICOM volumes, on Ray."""

__version__ = "0.1.0"
