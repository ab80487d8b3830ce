"""The APIs of other gateways, so that apps which speak them change only a URL.

A module for each: it reads that API's parameters, asks the one door (gateway.door) and answers in that API's
words. Which listener has which is configured (`[http] apis`, `[[http.apps]]`), which account may use which
is its setting `apis`; an account that may not is answered as a wrong password is.
"""
