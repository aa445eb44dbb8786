"""What happens inside a network while it trains: one module per quantity.

Each is a pure function of a `Layer` and a thin Lightning callback around it. The callbacks work on any LightningModule.
"""
