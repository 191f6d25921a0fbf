"""How a batch is chosen, whatever the strategy: the contract, the registry, chains, guards, the control arm.

Strategies themselves are one file each in ``foresift.strategies``.
"""
