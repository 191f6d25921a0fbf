"""Where values live on disk: predictions, generations, receipts, exchange files."""
