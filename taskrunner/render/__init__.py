"""Values to text: tables for people, documents for programs. It returns text and never prints."""
