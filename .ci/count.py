"""Prints 'N passed, N failed' over Meson's JUnit files, after the number of skipped ones if any; a missing file or a program that died counts as a failure."""
import sys
import xml.etree.ElementTree as xml

passed = failed = skipped = 0
for path in sys.argv[1:]:
    try:
        root = xml.parse(path).getroot()
    except (OSError, xml.ParseError) as error:
        print(f"{path}: {error}")
        failed += 1
        continue
    for case in root.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None or case.get("status") == "notrun" or case.get("result") == "skipped":
            skipped += 1
        else:
            passed += 1
if skipped:
    print(f"{skipped} skipped")
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0 or passed == 0)
