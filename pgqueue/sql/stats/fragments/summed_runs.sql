-- The sum of the histograms `runs` of several rows of pgqueue.stats, bucket by bucket. This is faster than to unnest all arrays.
array[sum(j.runs[1]), sum(j.runs[2]), sum(j.runs[3]), sum(j.runs[4]), sum(j.runs[5]),
      sum(j.runs[6]), sum(j.runs[7]), sum(j.runs[8]), sum(j.runs[9]), sum(j.runs[10]),
      sum(j.runs[11]), sum(j.runs[12]), sum(j.runs[13]), sum(j.runs[14]), sum(j.runs[15]),
      sum(j.runs[16]), sum(j.runs[17]), sum(j.runs[18]), sum(j.runs[19]), sum(j.runs[20]),
      sum(j.runs[21]), sum(j.runs[22]), sum(j.runs[23]), sum(j.runs[24]), sum(j.runs[25]),
      sum(j.runs[26]), sum(j.runs[27]), sum(j.runs[28]), sum(j.runs[29]), sum(j.runs[30]),
      sum(j.runs[31]), sum(j.runs[32])]
