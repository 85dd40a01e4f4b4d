"""The Streamlit dashboard of actsearch: it reads a storage and never writes to it. Started by ``launch``."""
