"""The platform's interface: support, trusted flaggers, hotlines, each with a key; never on the internet."""
