"""Any long-running part: started, watched, started again, listed, stopped; and its data folder."""
