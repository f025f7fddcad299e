"""The arms that this project hosts, one package each."""
