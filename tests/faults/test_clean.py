def test_clean(clean):
    for kind, story in clean.items():
        print(kind, *story, sep="\n  ")
