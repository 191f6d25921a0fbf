"""The study of agents: what choosing a strategy by trial costs, and what it brings."""
