"""What an operator writes, read into typed values. Imports router's nouns, nothing above."""
