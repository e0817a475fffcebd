"""Textmill's client: submit bulk text-processing jobs, follow them, read their results.

    from textmill import Client

    with Client("http://localhost:8000", api_key="...") as mill:
        job = mill.submit("translation", open("reports.txt"), target_lang="pt")
        job.wait(progress=True)
        for result in job.results():
            print(result.id, result.output.translation_text)
"""
