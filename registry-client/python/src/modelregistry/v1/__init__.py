"""The messages of the contract, generated when the package is built."""
