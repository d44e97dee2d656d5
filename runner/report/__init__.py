"""Reports: tables, figures, pages and sentences for people."""
