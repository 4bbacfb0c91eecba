"""Who the patient is, taken out: the Basic Application Confidentiality Profile."""
