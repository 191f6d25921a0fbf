"""The transfer study: does the model that chose the labels matter to the model that learns from them?"""
