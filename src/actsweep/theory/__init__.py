"""What theory says of wide random networks before any data is seen: how z and gradients change by layer.

`python -m src.theory` prints it. Pure functions in float64 of an elementwise activation and of σ_w² = fan_in·Var(w),
σ_b² = Var(b). Sources: Poole et al. 2016; Schoenholz et al. 2017, Deep Information Propagation; Hayou et al. 2019; Lu
et al. 2019.
"""
