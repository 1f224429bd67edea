"""The HTTP processes: `public` (anybody may report) and `platform` (support, trusted flaggers, hotlines).

The only home of FastAPI, Starlette, Jinja2 and uvicorn. Every route says which verb it takes, else the
process does not start (`guard`); every request passes the fence first (`fence`): limits, headers, one log
line. What both do with a report is one use case (`desk`): seal it, send it, sign the receipt. Neither reads
what was told to it before, and neither decides anything.
"""
