"""The console: pages in the browser for those who watch and act, at /console.

    app.py      puts it together: routing, who may see what, headers
    page.py     what a page is, and what it gets
    live.py     one shared stream of what changes each second
    frame.py    templates; assets.py: files with hashed names
    pages/      a module for each subject

Rendered here, on the server, by Jinja; htmx swaps fragments, uPlot draws, and every page is whole without
scripts. What pages show and do are the same figures and admin verbs that HTTP and the command line have.

Invariants: nothing on the message path imports the console; nothing is fetched from anywhere else, no script
or style stands in a page (Content-Security-Policy); no page is served to somebody who has not its scope.

Deliberately not here: figures (gateway.figures, gateway.overview), acts (gateway.acts), who somebody is
(gateway.sessions).
"""
