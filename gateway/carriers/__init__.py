"""The carrier side: links bound to upstream SMSCs, dispatch from lanes, receipts and MOs coming back."""
